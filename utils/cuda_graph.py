"""Work of many small operations on a CUDA GPU, launched as one."""

from collections.abc import Callable

import torch


def record(work: Callable[[], None]) -> Callable[[], None]:
    """What does the same as `work`, in one launch; where no graph can be recorded, `work` itself.

    All that `work` reads and writes must stay where it is in memory; it is done once on the way.
    """
    try:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()  # libraries allocate what they need
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may load data meanwhile
            work()
        return graph.replay
    except RuntimeError as error:
        print(f"speaking step by step, several times slower, as no CUDA graph was recorded: {error}".splitlines()[0])
        return work
