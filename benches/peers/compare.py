"""Times resam and its Python peers on the same matrices, on the same machine, in one run: peer, resam, peer, resam, ...

How to install the peers and run this is in README.md. Each peer lives in a process of its own that holds the matrix where the peer wants it
(torch tensor, numpy array), makes each call once before it is timed, and is ended when a call exceeds the time limit. resam reads
the same matrix from a file, which does not count, by `resam bench --input`. Both times end when the result can be read:
on a GPU that is after it was copied to host memory.

A ratio is (median time of the peer's calls of a round) / (median time of resam's calls of the same round); the one printed is the median over
the rounds, and above 1 resam is faster.
"""
import argparse
import contextlib
import datetime
import importlib.metadata
import io
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types

# Calls of a peer that take longer are timed once a round.
LONG_S = 1.0

# What is compared: resam's specification, and how each peer is asked for the same thing. A text after the specification says how what
# the peer computes differs.
RULES = [
    "average", "median", "trimmed_mean", "meamed", "geometric_median", "krum", "multi_krum", "mda",
    "nnm+trimmed_mean", "nnm+geometric_median", "nnm+krum", "centered_clipping:tau=100", "caf", "smea",
]
NOTES = {
    ("byzfl", "geometric_median"): "3 steps, resam converges",
    ("byzfl", "nnm+geometric_median"): "3 steps, resam converges",
    ("byzfl", "caf"): "one power step, resam an exact eigenpair",
    ("byzfl", "smea"): "one power step, resam exact eigenvalues",
    ("byzpy", "median"): "lower of the two middle values for even n",
    ("byzpy", "meamed"): "lower of the two middle values for even n",
    ("byzpy", "geometric_median"): "stops at a change of 1e-6",
    ("byzpy", "nnm+geometric_median"): "stops at a change of 1e-6",
    ("byzpy", "caf"): "three power steps, resam an exact eigenpair",
    ("flwr", "krum"): "n - f - 2 neighbours",
    ("flwr", "multi_krum"): "n - f - 2 neighbours",
    ("krum", "median"): "lower of the two middle values for even n",
    ("krum", "krum"): "distances that are not squared",
}


def byzfl_calls(x, n, f, device):
    import byzfl
    import torch

    x = torch.from_numpy(x).to(device)

    def chain(*stages):
        def call():
            y = x
            for stage in stages:
                y = stage(y)
            return y
        return call

    nnm = byzfl.NNM(f)
    return {
        "average": chain(byzfl.Average()), "median": chain(byzfl.Median()), "trimmed_mean": chain(byzfl.TrMean(f)),
        "meamed": chain(byzfl.Meamed(f)), "geometric_median": chain(byzfl.GeometricMedian()), "krum": chain(byzfl.Krum(f)),
        "multi_krum": chain(byzfl.MultiKrum(f)), "mda": chain(byzfl.MDA(f)), "nnm+trimmed_mean": chain(nnm, byzfl.TrMean(f)),
        "nnm+geometric_median": chain(nnm, byzfl.GeometricMedian()), "nnm+krum": chain(nnm, byzfl.Krum(f)),
        "centered_clipping:tau=100": lambda: byzfl.CenteredClipping()(x), "caf": chain(byzfl.CAF(f)), "smea": chain(byzfl.SMEA(f)),
    }


def byzpy_calls(x, n, f, device):
    import torch
    from byzpy.aggregators.coordinate_wise.mean_of_medians import MeanOfMedians
    from byzpy.aggregators.coordinate_wise.median import CoordinateWiseMedian
    from byzpy.aggregators.coordinate_wise.trimmed_mean import CoordinateWiseTrimmedMean
    from byzpy.aggregators.geometric_wise.geometric_median import GeometricMedian
    from byzpy.aggregators.geometric_wise.krum import Krum, MultiKrum
    from byzpy.aggregators.geometric_wise.minimum_diameter_average import MinimumDiameterAveraging
    from byzpy.aggregators.geometric_wise.smea import SMEA
    from byzpy.aggregators.norm_wise.caf import CAF
    from byzpy.aggregators.norm_wise.center_clipping import CenteredClipping
    from byzpy.pre_aggregators.nnm import NearestNeighborMixing

    rows = list(torch.from_numpy(x).to(device))

    def rule(rule):
        return lambda: rule.aggregate(rows)

    def mixed(rule):
        nnm = NearestNeighborMixing(f)
        return lambda: rule.aggregate(nnm.pre_aggregate(rows))

    return {
        "median": rule(CoordinateWiseMedian()), "trimmed_mean": rule(CoordinateWiseTrimmedMean(f)), "meamed": rule(MeanOfMedians(f)),
        "geometric_median": rule(GeometricMedian()), "krum": rule(Krum(f)), "multi_krum": rule(MultiKrum(f, n - f)),
        "mda": rule(MinimumDiameterAveraging(f)), "nnm+trimmed_mean": mixed(CoordinateWiseTrimmedMean(f)),
        "nnm+geometric_median": mixed(GeometricMedian()), "nnm+krum": mixed(Krum(f)),
        "centered_clipping:tau=100": rule(CenteredClipping(c_tau=100.0, M=1, init="zero")), "caf": rule(CAF(f)), "smea": rule(SMEA(f)),
    }


def flwr_calls(x, n, f, device):
    from flwr.server.strategy import aggregate as flwr

    results = [([row], 1) for row in x]
    return {
        "average": lambda: flwr.aggregate(results)[0], "median": lambda: flwr.aggregate_median(results)[0],
        "trimmed_mean": lambda: flwr.aggregate_trimmed_avg(results, f / n)[0],
        "krum": lambda: flwr.aggregate_krum(results, f, 0)[0], "multi_krum": lambda: flwr.aggregate_krum(results, f, n - f)[0],
    }


def krum_calls(x, n, f, device):
    import torch

    if "KRUM_SRC" not in os.environ:
        raise RuntimeError("KRUM_SRC names no clone of krum")
    sys.path.insert(0, os.environ["KRUM_SRC"])
    from krum.aggregators import gars

    rows = list(torch.from_numpy(x).to(device))

    def gar(name, **keys):
        return lambda: gars[name].unchecked(gradients=rows, **keys)

    return {"average": gar("average"), "median": gar("median"), "krum": gar("krum", f=f, m=1), "mda": gar("brute", f=f)}


PEERS = {"byzfl": byzfl_calls, "byzpy": byzpy_calls, "flwr": flwr_calls, "krum": krum_calls}


def serve(pipe, peer, path, n, f, device, threads):
    """The life of a peer's process: answers (name, repetitions) with times, the first message with the names it knows."""
    import numpy as np

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            import torch

            torch.set_num_threads(threads)
            calls = PEERS[peer](np.load(path), n, f, device)
        except Exception as error:
            return pipe.send((None, f"{type(error).__name__}: {error}"))
        pipe.send((sorted(calls), None))
        while True:
            name, repetitions = pipe.recv()
            try:
                times = []
                for _ in range(repetitions):
                    begin = time.perf_counter()
                    y = calls[name]()
                    if device != "cpu" and hasattr(y, "cpu"):
                        y.cpu()
                    times.append(time.perf_counter() - begin)
                pipe.send((times, None))
            except Exception as error:
                pipe.send((None, f"{type(error).__name__}: {error}"))


class Peer:
    """A peer's process, begun anew after a call that did not end."""

    def __init__(self, *how):
        self.how, self.process = how, None
        self.names, self.failure = self.begin()

    def begin(self):
        self.end()
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=serve, args=(theirs, *self.how), daemon=True)
        self.process.start()
        return self.answer(300)

    def answer(self, limit):
        if self.pipe.poll(limit):
            with contextlib.suppress(EOFError):
                return self.pipe.recv()
            return None, "its process died (out of memory?)"
        return None, f"did not end in {limit:g} s"

    def times(self, name, repetitions, limit):
        """Times of that many calls, or why there are none."""
        self.pipe.send((name, repetitions))
        times, failure = self.answer(limit * repetitions)
        if times is None and not self.process.is_alive() or failure and failure.startswith("did not end"):
            self.begin()
        return times, failure

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.join()


def resam_times(args, path, f, spec):
    """The median time of resam's calls and what its report says, or why there are none."""
    command = [args.resam, "bench", "--quiet", "--what", "rules", "--input", path, "--rule", spec, "-f", str(f), "--json",
               "--repetitions", str(args.repetitions), "--device", "cpu" if args.device == "cpu" else "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)})
    if done.returncode != 0:
        return None, done.stderr.strip()
    found = json.loads(done.stdout)
    return found["measurements"][0], None


def compare(args, peer, name, path, f):
    """One line of the result."""
    line = {"peer": peer.how[0], "spec": name, "note": NOTES.get((peer.how[0], name), "")}
    warm, failure = peer.times(name, 1, args.limit)
    if failure:
        return {**line, "skipped": failure}
    repetitions = 1 if warm[0] > LONG_S else args.repetitions
    rounds = []
    for _ in range(1 if warm[0] > 10 * LONG_S else args.rounds):
        theirs, failure = peer.times(name, repetitions, args.limit)
        if failure:
            return {**line, "skipped": failure}
        ours, failure = resam_times(args, path, f, name)
        if failure:
            return {**line, "skipped": f"resam: {failure}"}
        rounds.append((statistics.median(theirs), ours["seconds"]["median"]))
    return {
        **line,
        "peer_ms": 1e3 * statistics.median(theirs for theirs, _ in rounds),
        "resam_ms": 1e3 * statistics.median(ours for _, ours in rounds),
        "ratio": statistics.median(theirs / ours for theirs, ours in rounds),
        "rounds": len(rounds),
        "resam_device": ours["device"],
    }


def version(package):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def processor():
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.processor())
    return platform.processor()


def markdown(result):
    about = result["about"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v)
    text = f"{about['date']}, {about['processor']}, {about['device']}, {about['threads']} threads; {versions}.\n"
    for table in result["tables"]:
        text += f"\n### n = {table['n']}, f = {table['f']}, d = {table['d']}\n\n"
        text += "| rule | peer | peer, ms | resam, ms | ratio | remark |\n|---|---|---|---|---|---|\n"
        for line in table["lines"]:
            if "skipped" in line:
                text += f"| `{line['spec']}` | {line['peer']} | – | – | – | {line['skipped']} |\n"
            else:
                cells = f"{line['peer_ms']:.1f} | {line['resam_ms']:.1f} | {line['ratio']:.1f}"
                text += f"| `{line['spec']}` | {line['peer']} | {cells} | {line['note']} |\n"
    return text


def write(name, result):
    for ending, text in (("md", markdown(result)), ("json", json.dumps(result, indent=1) + "\n")):
        # Complete at any time.
        with open(f"{name}.{ending}.part", "w") as file:
            file.write(text)
        os.replace(f"{name}.{ending}.part", f"{name}.{ending}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="Example: compare.py --sizes 15,3,1000000 --rules krum,mda")
    parser.add_argument("--resam", default="target/release/resam", help="the command [%(default)s]")
    parser.add_argument("--sizes", nargs="+", default=["15,3,1000000", "25,5,1000000"], metavar="N,F,D", help="[%(default)s]")
    parser.add_argument("--rules", default=None, help="specifications, separated by commas [all]")
    parser.add_argument("--peers", default=",".join(PEERS), help="[%(default)s]")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where torch and resam work [%(default)s]")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="times peer and resam are measured in turn [%(default)s]")
    parser.add_argument("--repetitions", type=int, default=5, help="calls a round [%(default)s]")
    parser.add_argument("--limit", type=float, default=60, help="seconds a peer's call may take [%(default)s]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default="compare", metavar="NAME", help="writes NAME.md and NAME.json, anew after each measurement [%(default)s]")
    args = parser.parse_args()

    import numpy as np

    sizes = [tuple(map(int, size.split(","))) for size in args.sizes]
    wanted = args.rules.split(",") if args.rules else RULES
    unknown = [name for name in args.peers.split(",") if name not in PEERS] + [spec for spec in wanted if spec not in RULES]
    if unknown or any(len(size) != 3 for size in sizes):
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "a size is N,F,D")
    # A worker is to see as many threads as resam, in whatever library it uses.
    os.environ.update({name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")})
    multiprocessing.set_start_method("spawn")
    packages = ["byzfl", "byzpy", "flwr", "torch", "numpy"]
    resam = subprocess.run([args.resam, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    about = {
        "date": datetime.date.today().isoformat(), "processor": processor(), "device": args.device, "threads": args.threads,
        "rounds": args.rounds, "repetitions": args.repetitions, "seed": args.seed,
        "versions": {"resam": resam, **{name: version(name) for name in packages}, "python": platform.python_version()},
    }
    result = {"about": about, "tables": []}
    for n, f, d in sizes:
        lines = []
        result["tables"].append({"n": n, "f": f, "d": d, "lines": lines})
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "matrix.npy")
            np.save(path, np.random.default_rng(args.seed).uniform(-0.5, 0.5, size=(n, d)).astype(np.float32))
            for peer_name in args.peers.split(","):
                peer = Peer(peer_name, path, n, f, args.device, args.threads)
                for spec in wanted if peer.names is None else [spec for spec in wanted if spec in peer.names]:
                    line = {"peer": peer_name, "spec": spec, "skipped": peer.failure} if peer.names is None else compare(args, peer, spec, path, f)
                    said = line.get("skipped") or "{peer_ms:.1f} ms, resam {resam_ms:.1f} ms, ratio {ratio:.1f}".format(**line)
                    print(f"n = {n}, {spec}: {peer_name} {said}", file=sys.stderr)
                    lines.append(line)
                    lines.sort(key=lambda line: wanted.index(line["spec"]))
                    # Whatever ends a long run, what was measured is kept.
                    write(args.output, result)
                    if peer.names is None:
                        break
                peer.end()
    write(args.output, result)
    print(markdown(result), end="")


if __name__ == "__main__":
    main()
