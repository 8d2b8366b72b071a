#!/usr/bin/env python3
"""Times MoteLM beside ik_llama.cpp, whose kernels are faster than llama.cpp's: same files and threads, in turns.

  ik.py LLAMA_BENCH MODEL.gguf... [--threads 1,2] [--rounds 3]

LLAMA_BENCH is the program `llama-bench` of a build of ik_llama.cpp (`cmake -DGGML_NATIVE=ON`). Both run twice in each
round: with the file mapped, and with weights in memory of their own, which ik_llama.cpp repacks then (`-rtr 1`) and
MoteLM does not (`--no-mmap`). Of each the faster one counts. The table goes into a record by hand.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

import peers

MOTE = ("mote", "mote --no-mmap")
IK = ("ik", "ik -rtr 1")


def bench(program, path, threads, prompt, generate, repacked):
    """Tokens per second by test; llama-bench warms up by itself."""
    command = [program, "-m", path, "-t", threads, "-p", prompt, "-n", generate, "-r", 1, "-rtr", repacked, "-o", "json"]
    output = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    # Some versions print other lines before.
    results = json.loads(output[output.index("[\n") :])
    return {"pp" if result["n_prompt"] else "tg": result["avg_ts"] for result in results}


def compare(args, path, threads):
    """Rates by test and way."""
    rates = {test: {way: [] for way in MOTE + IK} for test in ("pp", "tg")}
    for _ in range(args.rounds):
        turn = {}
        for way, more in zip(MOTE, ([], ["--no-mmap"])):
            seconds = peers.mote(args.mote, path, threads, args.prompt, args.generate, 0, *more)
            turn[way] = {test: n / seconds[test][0] for test, n in (("pp", args.prompt), ("tg", args.generate))}
        for repacked, way in enumerate(IK):
            turn[way] = bench(args.program, path, threads, args.prompt, args.generate, repacked)
        for test, by_way in rates.items():
            for way, of in by_way.items():
                of.append(turn[way][test])
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--mote", type=pathlib.Path, default=peers.REPOSITORY / "target" / "release" / "mote")
    args = parser.parse_args()
    head = ["model", "test", "threads", *(f"{way} t/s" for way in MOTE + IK), "mote / ik", "of all rounds"]
    print("\n".join(map(peers.line, (head, ["---"] * len(head)))), flush=True)
    for path in args.models:
        for threads in args.threads:
            for test, rates in compare(args, path, threads).items():
                medians = {way: statistics.median(of) for way, of in rates.items()}
                ours, theirs = (rates[max(ways, key=medians.get)] for ways in (MOTE, IK))
                ratios = sorted(a / b for a, b in zip(ours, theirs))
                name = f"{test}{args.prompt if test == 'pp' else args.generate}"
                cells = [path.stem, name, str(threads), *(f"{rate:.1f}" for rate in medians.values())]
                cells += [f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]
                print(peers.line(cells), flush=True)


if __name__ == "__main__":
    main()
