"""Many small operations on a CUDA GPU, launched as one."""

from collections.abc import Callable

import torch


def record(work: Callable[[], None]) -> Callable[[], None]:
    """A function that does the same as `work` in one launch, or `work` itself if no graph can be recorded.

    The tensors that `work` reads and writes must stay where they are in memory. Recording runs it once.
    """
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()  # a first run, in which libraries allocate their memory
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may load data at the same time
            work()
        return graph.replay
    except RuntimeError as error:
        print(f"generating step by step, several times slower, as no CUDA graph could be recorded: {error}".splitlines()[0])
        return work
