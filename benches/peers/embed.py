#!/usr/bin/env python3
"""Times MoteLM's embeddings beside llama.cpp's: same file, same texts, one thread or more, in turns.

  embed.py MODEL.gguf [--threads 1,2] [--rounds 5]

Texts of 9, 49 and 400 words one by one, and 96 texts of 9 words at once. llama.cpp is that of `peers.py setup`; it gets the
96 texts in batches of 512 or of 2048 tokens, whichever it does faster. Times are of the model alone, without opening
it and without tokenizers' setup: MoteLM's are differences between a short and a long run of `mote embed`.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

import peers

WORDS = (
    "the old king sent a letter to every village beyond the river and asked who among them could repair "
    "his broken clock before winter because nobody in the palace remembered how its wheels had been made"
).split()
# Texts in a batch of llama.cpp.
MOST = 64
TESTS = [("9 words", 9, 1), ("49 words", 49, 1), ("400 words", 400, 1), ("96 x 9 words", 9, 96)]


def text(n_words, number):
    return " ".join(WORDS[(number * 7 + i * (1 + number % 5)) % len(WORDS)] for i in range(n_words))


# --- llama.cpp's side: a process of its own, one measurement for each line of input ---


def serve(path, threads):
    import ctypes
    import time

    import llama_cpp as llama

    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    vocab = llama.llama_model_get_vocab(model)
    options = llama.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = 2048
    options.n_seq_max = MOST  # it wants 2048 to be a multiple
    options.kv_unified = True
    options.n_threads = options.n_threads_batch = threads
    options.embeddings = True
    context = llama.llama_init_from_model(model, options)
    if not context:
        sys.exit("llama.cpp makes no context")

    def tokens(text):
        data = text.encode()
        array = (llama.llama_token * (len(data) + 8))()
        return array[: llama.llama_tokenize(vocab, data, len(data), array, len(array), True, False)]

    def encode(texts):
        n = sum(map(len, texts))
        batch = llama.llama_batch_init(n, 0, MOST)
        batch.n_tokens = n
        i = 0
        for number, ids in enumerate(texts):
            for position, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.logits[i] = token, position, 1
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, number
                i += 1
        if llama.llama_encode(context, batch) != 0:
            sys.exit("llama_encode fails")
        for number in range(len(texts)):
            llama.llama_get_embeddings_seq(context, number)[0]
        llama.llama_batch_free(batch)

    def cut(texts, most):
        groups = [[]]
        for ids in texts:
            if len(groups[-1]) == MOST or sum(map(len, groups[-1])) + len(ids) > most:
                groups.append([])
            groups[-1].append(ids)
        return groups

    def timed(groups):
        clock, cpu = time.perf_counter(), time.process_time()
        for group in groups:
            encode(group)
        return time.perf_counter() - clock, time.process_time() - cpu

    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        texts = [tokens(text) for text in json.loads(line)]
        ways = [timed(cut(texts, most)) for most in ((512, 2048) if len(texts) > 1 else (2048,))]
        best = min(ways, key=lambda times: times[1])
        print(json.dumps({"times": best, "tokens": sum(map(len, texts))}), flush=True)


class Llama:
    def __init__(self, path, threads):
        command = [peers.PYTHON, __file__, "serve", path, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def measure(self, texts):
        self.process.stdin.write(json.dumps(texts) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# --- MoteLM's side ---


def mote(binary, path, threads, texts, batch):
    """Seconds by the clock in the model, and CPU seconds of the whole run."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(texts))
        file.flush()
        command = [binary, "embed", "-m", path, "-f", file.name, "-t", threads, "-b", batch]
        command += ["--stats", "--format", "raw", "-o", os.devnull]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = float(run.stderr.split(";")[1].split()[0])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def ours(binary, path, threads, texts):
    """A long run less a short one, for each time that the texts are embedded."""
    batch = 1 if len(texts) == 1 else 512
    times = 3 if len(texts[0]) > 1000 or len(texts) > 1 else 12
    short = mote(binary, path, threads, texts, batch)
    long = mote(binary, path, threads, texts * (1 + times), batch)
    return [(b - a) / times for a, b in zip(short, long)]


def compare(args, threads):
    peer = Llama(str(args.model), threads)
    for name, n_words, n_texts in TESTS:
        texts = [text(n_words, number) for number in range(n_texts)]
        peer.measure(texts)  # warms up
        both = {"mote": [], "llama.cpp": []}
        for _ in range(args.rounds):
            both["mote"].append(ours(args.mote, args.model, threads, texts))
            many = [peer.measure(texts) for _ in range(3)]
            both["llama.cpp"].append([statistics.median(run["times"][by] for run in many) for by in (0, 1)])
        for by in (0, 1) if threads == 1 else (0,):
            mine, theirs = ([run[by] for run in both[engine]] for engine in ("mote", "llama.cpp"))
            ratios = sorted(b / a for a, b in zip(mine, theirs))
            rate = lambda times: n_texts / statistics.median(times)
            milliseconds = lambda times: 1e3 * statistics.median(times)
            show = (lambda times: f"{milliseconds(times):.1f} ms") if n_texts == 1 else (lambda times: f"{rate(times):.1f} texts/s")
            cells = [f"{name} ({many[0]['tokens']} tokens)", str(threads), "CPU" if by else "clock"]
            cells += [show(mine), show(theirs), f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]
            print(peers.line(cells), flush=True)
    peer.close()


def main():
    if sys.argv[1:2] == ["serve"]:
        return serve(sys.argv[2], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mote", type=pathlib.Path, default=peers.REPOSITORY / "target" / "release" / "mote")
    args = parser.parse_args()
    print(peers.line(["texts", "threads", "time", "mote", "llama.cpp", "mote / llama.cpp", "of all rounds"]))
    print(peers.line(["---"] * 7))
    for threads in args.threads:
        compare(args, threads)


if __name__ == "__main__":
    main()
