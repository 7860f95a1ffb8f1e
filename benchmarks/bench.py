"""Throughput of every stage at the published sizes, on this machine: `make bench`, or `python -m benchmarks.bench NAME...`.

Each benchmark runs in a process of its own, to measure its peak memory. Times are medians over a few repetitions.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable

from tqdm import tqdm

from benchmarks import encoder, preprocessing, synthesizer, vocoder
from benchmarks.timing import SAMPLES
from utils import cli
from utils.errors import UserError

BENCHMARKS: dict[str, Callable[[], str]] = {
    "encoder_preprocess": lambda: preprocessing.encoder(SAMPLES),
    **encoder.BENCHMARKS,
    "synthesizer_preprocess": lambda: preprocessing.synthesizer(SAMPLES),
    **synthesizer.BENCHMARKS,
    **vocoder.BENCHMARKS,
}


def run_all(names: list[str]) -> None:
    rows = []
    for name in (bar := tqdm(names, desc="benchmarks", leave=False)):
        bar.set_postfix_str(name)
        done = subprocess.run([sys.executable, "-m", "benchmarks.bench", "--here", name], capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{name}: failed\n{done.stderr[-2000:]}")
        rows.append((name, *json.loads(done.stdout.splitlines()[-1])))
    print("| stage | throughput | peak memory |\n|---|---|---|")
    for name, figure, gigabytes in rows:
        print(f"| {name} | {figure} | {gigabytes:.2f} GB |")


def main() -> None:
    parser = cli.parser("Measure the throughput and the peak memory of every stage at the published sizes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure, of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        raise UserError(f"{unknown[0]}: no such benchmark; there are {', '.join(BENCHMARKS)}", exit_code=2)
    if args.here:
        figure = BENCHMARKS[args.names[0]]()
        print(json.dumps([figure, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
    else:
        run_all(args.names or list(BENCHMARKS))


if __name__ == "__main__":
    cli.run(main)
