#!/usr/bin/env python3
"""Times MoteLM beside llama.cpp: same files, same threads, in turns.

  peers.py setup                      builds llama.cpp (through llama-cpp-python) in a virtual environment
  peers.py run MODEL.gguf...          times both, prints a table, writes a dated record
  peers.py start MODEL.gguf...        from nothing to the first token: time and memory of both, printed

Read README.md beside this file first.
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import shlex
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CACHE = pathlib.Path(os.environ.get("MOTE_CACHE", pathlib.Path.home() / ".cache" / "motelm"))
VENV = CACHE / "peers"
PYTHON = VENV / "bin" / "python"


def setup():
    """llama.cpp as its users get it, compiled for this processor."""
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    flags = {"CMAKE_ARGS": "-DGGML_NATIVE=ON", "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count())}
    package = ["--no-binary", "llama-cpp-python", "llama-cpp-python"]
    subprocess.run([PYTHON, "-m", "pip", "install", *package], check=True, env={**os.environ, **flags})


# --- llama.cpp's side: a process of its own, one measurement for each line of input ---


def load(path, threads, n_ctx):
    """The module, a model and a context of it, and when the module was there."""
    import ctypes

    import llama_cpp as llama

    load.quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(load.quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    imported = used()
    options = llama.llama_model_default_params()
    options.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(path.encode(), options)
    if not model:
        sys.exit(f"llama.cpp does not open {path}")
    options = llama.llama_context_default_params()
    options.n_ctx = n_ctx
    options.n_batch = options.n_ubatch = 512
    options.n_threads = options.n_threads_batch = threads
    context = llama.llama_init_from_model(model, options)
    if not context:
        sys.exit(f"llama.cpp makes no context for {path}")
    return llama, model, context, imported


def used():
    """Seconds by the clock and of CPU time, and the most memory in bytes, of this process so far."""
    return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first(path, threads, n_ctx):
    """Seconds and memory from an idle Python to the first token."""
    llama, _, context, before = load(path, threads, n_ctx)
    if llama.llama_decode(context, llama.llama_batch_get_one((llama.llama_token * 1)(1), 1)) != 0:
        sys.exit("llama_decode fails")
    llama.llama_synchronize(context)
    print(json.dumps([after - before for before, after in zip(before, used())]))


def serve(path, threads, prompt, generate, depth):
    """Keeps the model open; answers every line with the seconds of a prompt and of a generation, behind `depth` tokens."""
    import random

    llama, model, context, _ = load(path, threads, depth + max(prompt, generate))
    n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    chance = random.Random(1)
    tokens = [chance.randrange(n_vocab) for _ in range(max(prompt, generate, depth, 1))]

    def decode(some):
        array = (llama.llama_token * len(some))(*some)
        if llama.llama_decode(context, llama.llama_batch_get_one(array, len(some))) != 0:
            sys.exit("llama_decode fails")

    def run(work):
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        read(depth)
        llama.llama_synchronize(context)
        clock, cpu = time.perf_counter(), time.process_time()
        work()
        llama.llama_synchronize(context)
        return time.perf_counter() - clock, time.process_time() - cpu

    def timed(work):
        run(work)  # warms up within its turn, as `mote bench` does: the process has rested meanwhile
        return run(work)

    def read(n):
        for i in range(0, n, 512):
            decode(tokens[i : min(i + 512, n)])

    def write():
        for token in tokens[:generate]:
            decode([token])

    for _ in sys.stdin:
        print(json.dumps({"pp": timed(lambda: read(prompt)), "tg": timed(write)}), flush=True)


class Llama:
    def __init__(self, path, *numbers):
        command = [PYTHON, __file__, "serve", path, *map(str, numbers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# --- MoteLM's side ---


def mote(binary, path, threads, prompt, generate, depth, *more):
    """One warm-up and one run of `mote bench`."""
    command = [binary, "bench", "-m", path, "-t", threads, "-p", prompt, "-n", generate, "-d", depth, "-r", 1, "--json", *more]
    output = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    results = {result["test"][:2]: result for result in json.loads(output)["results"]}
    return {test: (result["seconds"][0], result["cpu_seconds"][0]) for test, result in results.items()}


def mote_first(binary, path, threads, context):
    """Seconds by the clock and of CPU time, and the most memory in bytes, of a process that makes one token."""
    command = [binary, "run", "-m", path, "-t", threads, "-c", context, "-n", 1, "--ignore-eos", "Once"]
    begin = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{shlex.join(map(str, command))} fails")
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


# --- both ---


def compare(binary, path, threads, prompt, generate, depth, rounds):
    """Times both in turns; returns seconds by test and engine, clock and CPU."""
    peer = Llama(path, threads, prompt, generate, depth)
    times = {test: {"mote": [], "llama.cpp": []} for test in ("pp", "tg")}
    for _ in range(rounds):
        ours = mote(binary, path, threads, prompt, generate, depth)
        theirs = peer.measure()
        for test, both in times.items():
            both["mote"].append(ours[test])
            both["llama.cpp"].append(theirs[test])
    peer.close()
    return times


def row(path, test, tokens, depth, threads, both, by):
    """A line of the table: rates, and the ratio by clock and, of one thread, by CPU time."""
    pick = lambda engine: [run[by] for run in both[engine]]
    ours, theirs = pick("mote"), pick("llama.cpp")
    ratios = sorted(b / a for a, b in zip(ours, theirs))
    rate = lambda seconds: tokens / statistics.median(seconds)
    ratio = statistics.median(ratios)
    return [
        path.stem,
        f"{test}{tokens}" + (f" @ d{depth}" if depth else ""),
        str(threads),
        "CPU" if by else "clock",
        f"{rate(ours):.1f}",
        f"{rate(theirs):.1f}",
        f"**{ratio:.2f}**" if ratio >= 1 else f"{ratio:.2f}",
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    ]


HEAD = ["model", "test", "threads", "time", "mote t/s", "llama.cpp t/s", "mote / llama.cpp", "of all rounds"]


def line(cells):
    return "| " + " | ".join(cells) + " |"


def shell(*command):
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY).stdout.strip()


def processor():
    with open("/proc/cpuinfo") as info:
        facts = dict(map(str.strip, fact.split(":", 1)) for fact in info if ":" in fact)
    named = [facts["model name"], f"family {facts['cpu family']} model {facts['model']}"]
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in facts["flags"].split()]
    return f"{', '.join(named)}, {os.cpu_count()} cores; {' '.join(flags)}"


def limits():
    """What the machine can do, as `limits` of motelm-benches measures it."""
    told = shell("cargo", "run", "--release", "-q", "-p", "motelm-benches", "--bin", "limits")
    if not told:
        return "not measured"
    facts = json.loads(told)
    read = ", ".join(f"{rate / 1e9:.1f} GB/s on {n} thread{'s' * (n != '1')}" for n, rate in facts["read"].items())
    peak = facts["integer_peak"]
    return f"memory read {read}" + (f"; {peak['instruction']} {peak['rate'] / 1e9:.0f} GOP/s a thread" if peak else "")


def llama_version():
    version = PYTHON.exists() and shell(PYTHON, "-c", "import llama_cpp; print(llama_cpp.__version__)")
    if not version:
        sys.exit(f"{PYTHON} has no llama.cpp: `peers.py setup` builds it")
    return version


def run(args):
    started = datetime.datetime.now()
    load = [os.getloadavg()[0]]
    version = llama_version()
    # Files by name alone; the note has a line of its own.
    words = ["run", *(path.name for path in args.models), "--threads", ",".join(map(str, args.threads))]
    words += ["--prompt", str(args.prompt), "--generate", str(args.generate), "--depth", str(args.depth), "--rounds", str(args.rounds)]
    changed = " with changes" if shell("git", "status", "--porcelain", "--untracked-files=no") else ""
    report = [
        f"# {started:%Y-%m-%d %H:%M}: MoteLM beside llama.cpp",
        "",
        f"* processor: {processor()}",
        f"* limits: {limits()}",
        f"* MoteLM: {shell('git', 'describe', '--always')}{changed}, `cargo build --release`",
        f"* llama.cpp: of llama-cpp-python {version}, `-DGGML_NATIVE=ON`",
        f"* command: `benches/peers/peers.py {' '.join(map(shlex.quote, words))}`",
        f"* rounds: {args.rounds}, in turns; rates and ratios are medians; above 1, MoteLM is faster",
    ]
    if args.note:
        report.append(f"* note: {args.note}")
    table = ["", line(HEAD), line(["---"] * len(HEAD))]
    for text in report + table:
        print(text, flush=True)
    for path in args.models:
        for threads in args.threads:
            try:
                times = compare(args.mote, path, threads, args.prompt, args.generate, args.depth, args.rounds)
            except (json.JSONDecodeError, subprocess.CalledProcessError) as error:
                table.append(f"| {path.stem} | failed: {type(error).__name__} |" + " |" * (len(HEAD) - 2))
                continue
            for test, tokens in (("pp", args.prompt), ("tg", args.generate)):
                for by in (0, 1) if threads == 1 else (0,):
                    table.append(line(row(path, test, tokens, args.depth, threads, times[test], by)))
                    print(table[-1], flush=True)
            load.append(os.getloadavg()[0])
    busy = f"* load while measuring: {min(load):.1f} to {max(load):.1f} (of {os.cpu_count()} cores)"
    text = "\n".join(report + [busy] + table) + "\n"
    target = args.record or HERE.parent / "record" / f"{started:%Y-%m-%d-%H%M}.md"
    pathlib.Path(target).write_text(text)
    print(f"\n{busy}\nwritten to {target}")


def start(args):
    """Both engines' way from nothing to the first token, in turns."""
    print(f"llama.cpp of llama-cpp-python {llama_version()}; medians of {args.rounds}; a context of {args.context}\n")
    head = ["model", "threads", "engine", "clock s", "CPU s", "peak MiB"]
    print("\n".join(map(line, (head, ["---"] * len(head)))))
    for path in args.models:
        for threads in args.threads:
            runs = {"mote": [], "llama.cpp": []}
            for _ in range(args.rounds):
                runs["mote"].append(mote_first(args.mote, path, threads, args.context))
                command = [PYTHON, __file__, "first", path, str(threads), str(args.context)]
                runs["llama.cpp"].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
            for engine, measured in runs.items():
                clock, cpu, memory = (statistics.median(column) for column in zip(*measured))
                print(line([path.stem, str(threads), engine, f"{clock:.3f}", f"{cpu:.3f}", f"{memory / 2**20:.0f}"]), flush=True)


def main():
    if sys.argv[1:2] in (["serve"], ["first"]):
        work, path, *numbers = sys.argv[1:]
        return {"serve": serve, "first": first}[work](path, *map(int, numbers))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("setup")
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("models", nargs="+", type=pathlib.Path)
    both.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1])
    both.add_argument("--rounds", type=int, default=5)
    both.add_argument("--mote", type=pathlib.Path, default=REPOSITORY / "target" / "release" / "mote")
    command = commands.add_parser("start", parents=[both])
    command.add_argument("--context", type=int, default=4096)
    command = commands.add_parser("run", parents=[both])
    command.add_argument("--prompt", type=int, default=512)
    command.add_argument("--generate", type=int, default=128)
    command.add_argument("--depth", type=int, default=0, help="tokens that are in the context before")
    command.add_argument("--record", help="file to write [benches/record/DATE.md]")
    command.add_argument("--note", help="what else there is to know")
    args = parser.parse_args()
    {"setup": lambda _: setup(), "run": run, "start": start}[args.command](args)


if __name__ == "__main__":
    main()
