#!/usr/bin/env python3
"""Times `mote quantize` beside llama.cpp's quantizer: same file, same types, same threads, in turns.

  quantize.py MODEL.gguf TYPE... [--threads 2] [--rounds 3]     after `peers.py setup`

CPU time of a process of its own each, reading and writing included. Then the error of each tensor that is not equal
byte for byte, mote's as a part of llama.cpp's: the least and the greatest.
"""

import argparse
import ctypes
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ.get("MOTE_CACHE", pathlib.Path.home() / ".cache" / "motelm"))
PYTHON = os.environ.get("PEER_PYTHON", str(CACHE / "peers" / "bin" / "python"))


def llama_quantize(source, target, name, threads):
    """llama.cpp's side, in a process of its own."""
    import llama_cpp as llama

    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    options = llama.llama_model_quantize_default_params()
    prefix = "LLAMA_FTYPE_ALL_" if name == "F32" else "LLAMA_FTYPE_MOSTLY_"
    options.ftype = getattr(llama, prefix + name)
    options.nthread = threads
    sys.exit(llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(options)))


def cpu(command):
    """CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tensors(mote, path):
    shown = subprocess.run([mote, "inspect", path, "--json", "--tensors"], capture_output=True, text=True, check=True)
    return {tensor["name"]: tensor for tensor in json.loads(shown.stdout)["tensors"]}


def as_floats(mote, path, target):
    """The file's weights, decoded."""
    subprocess.run([mote, "quantize", path, target, "F32", "--allow-requantize"], check=True, capture_output=True)
    return tensors(mote, target), open(target, "rb")


def errors(mote, source, files, folder):
    """For each tensor that differs: the root mean squares of both errors."""
    import numpy

    def values(table, file, name):
        file.seek(table[name]["offset"])
        return numpy.frombuffer(file.read(table[name]["bytes"]), dtype="<f4")

    raw = [(tensors(mote, path), open(path, "rb")) for path in files]
    exact = as_floats(mote, source, folder / "exact.gguf")
    decoded = [as_floats(mote, path, folder / f"decoded-{i}.gguf") for i, path in enumerate(files)]
    found = []
    for name, tensor in raw[0][0].items():
        other = raw[1][0][name]
        assert tensor["dtype"] == other["dtype"], f"{name}: {tensor['dtype']} and {other['dtype']}"
        both = []
        for table, file in raw:
            file.seek(table[name]["offset"])
            both.append(file.read(table[name]["bytes"]))
        if both[0] != both[1]:
            x = values(*exact, name).astype("f8")
            rms = [float(numpy.sqrt(((values(*side, name) - x) ** 2).mean())) for side in decoded]
            found.append((name, tensor["dtype"], *rms))
    return len(raw[0][0]), found


def main():
    if sys.argv[1:2] == ["llama"]:
        return llama_quantize(*sys.argv[2:5], int(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("types", nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mote", default=REPOSITORY / "target" / "release" / "mote")
    args = parser.parse_args()
    print("| type | llama.cpp | mote | llama.cpp / mote | of all rounds | equal tensors | error, mote / llama.cpp |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        theirs, ours = folder / "theirs.gguf", folder / "ours.gguf"
        for name in args.types:
            times = []
            for _ in range(args.rounds):
                peer = cpu([PYTHON, __file__, "llama", args.model, theirs, name, args.threads])
                times.append((peer, cpu([args.mote, "quantize", args.model, ours, name, "-t", args.threads])))
            ratios = [a / b for a, b in times]
            peer, mote = (statistics.median(side) for side in zip(*times))
            total, found = errors(args.mote, args.model, [ours, theirs], folder)
            ratio = [ours / theirs for _, _, ours, theirs in found]
            told = f"{min(ratio):.4f} to {max(ratio):.4f}" if ratio else "none"
            print(
                f"| {name} | {peer:.2f} s | {mote:.2f} s | **{statistics.median(ratios):.2f}** "
                f"| {min(ratios):.2f} to {max(ratios):.2f} | {total - len(found)} of {total} | {told} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
