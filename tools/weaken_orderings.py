#!/usr/bin/env python3
"""Weaken each memory ordering of the ring on purpose, one at a time, and see that loom's tests fail.

Prints a Markdown table. Takes some minutes; `make soak` runs it. Not in it: `read_tail`, whose acquire keeps the
producer's stores behind the sink's loads, since loom never lets a load see a store that comes later.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATE = Path("crates/mulletdaq-ring")


@dataclass(frozen=True)
class Weakening:
    """One change that must not go unnoticed: text in a file, and what stands in its place."""

    name: str
    file: str
    text: str
    instead: str


WEAKENINGS = [
    Weakening(
        "publish: write_head release → relaxed",
        "claim.rs",
        "header(header::WRITE_HEAD).store(self.head, Ordering::Release)",
        "header(header::WRITE_HEAD).store(self.head, Ordering::Relaxed)",
    ),
    Weakening("claim: no release fence", "claim.rs", "fence(Ordering::Release);", "let _ = fence;"),
    Weakening(
        "claim: write_intent one claim late",
        "claim.rs",
        "header(header::WRITE_INTENT).store(end, Ordering::Relaxed)",
        "header(header::WRITE_INTENT).store(self.head, Ordering::Relaxed)",
    ),
    Weakening(
        "row: state release → relaxed",
        "producer.rs",
        "word(self.open_state).store(self.open_rows, Ordering::Release)",
        "word(self.open_state).store(self.open_rows, Ordering::Relaxed)",
    ),
    Weakening(
        "row: state before the values",
        "producer.rs",
        "self.open_rows += count; self.row += count; self.region",
        "self.open_rows += count; self.row += count; self.region"
        ".word(self.open_state).store(self.open_rows + 1, Ordering::Release); self.region",
    ),
    Weakening(
        "seal: state release → relaxed",
        "producer.rs",
        "words[frame::STATE].store(open.rows | SEALED, Ordering::Release)",
        "words[frame::STATE].store(open.rows | SEALED, Ordering::Relaxed)",
    ),
    Weakening("validate: no acquire fence", "frame.rs", "fence(Ordering::Acquire);", "let _ = fence;"),
    Weakening(
        "validate: never",
        "frame.rs",
        "intent.wrapping_sub(position) <= region.capacity()",
        "intent.wrapping_sub(position) <= u64::MAX",
    ),
    Weakening(
        "read: write_head acquire → relaxed",
        "cursor.rs",
        "let head = self.region.header(header::WRITE_HEAD).load(Ordering::Acquire);",
        "let head = self.region.header(header::WRITE_HEAD).load(Ordering::Relaxed);",
    ),
    Weakening(
        "read: not validated after the copy",
        "cursor.rs",
        "if frame::intact(&self.region, frame.position) { Step::Delivered(",
        "if frame.position != 1 { Step::Delivered(",
    ),
    Weakening(
        "walk: write_head acquire → relaxed",
        "walk.rs",
        "let head = region.header(header::WRITE_HEAD).load(Ordering::Acquire); if head == 0",
        "let head = region.header(header::WRITE_HEAD).load(Ordering::Relaxed); if head == 0",
    ),
    Weakening(
        "schema: length release → relaxed",
        "rows.rs",
        "layout::VERSION), Ordering::Release)",
        "layout::VERSION), Ordering::Relaxed)",
    ),
    Weakening(
        "schema: length acquire → relaxed",
        "rows.rs",
        "header(header::SCHEMA_LEN_VERSION).load(Ordering::Acquire)",
        "header(header::SCHEMA_LEN_VERSION).load(Ordering::Relaxed)",
    ),
]


def run_loom(crate: Path) -> tuple[bool, list[str]]:
    """Whether the tests passed, and which failed."""
    command = ["cargo", "test", "--quiet", "--release", "--test", "interleavings", "--target-dir"]
    result = subprocess.run(
        [*command, str(ROOT / "target/weakened"), "--", "--test-threads", "2"],
        cwd=crate,
        env={**os.environ, "RUSTFLAGS": "--cfg loom", "RUST_BACKTRACE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "could not compile" in result.stderr:
        sys.exit(result.stderr)
    failed = sorted(set(re.findall(r"^    (\w+)$", result.stdout, re.MULTILINE)))
    return result.returncode == 0, failed


def main() -> int:
    wanted = sys.argv[1:]
    unnoticed = 0
    print("| weakened | found by |\n|---|---|", flush=True)
    for weakening in WEAKENINGS:
        if wanted and not any(word in weakening.name for word in wanted):
            continue
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "mulletdaq"
            (copy / "crates").mkdir(parents=True)
            shutil.copytree(ROOT / CRATE, copy / CRATE)
            manifest = (ROOT / "Cargo.toml").read_text().replace(', "crates/mulletdaq-py"', "")
            (copy / "Cargo.toml").write_text(manifest)
            shutil.copy(ROOT / "Cargo.lock", copy)
            source = copy / CRATE / "src" / weakening.file
            text = source.read_text()
            # However the formatter has broken the lines.
            pattern = r"\s*".join(re.escape(letter) for letter in weakening.text if not letter.isspace())
            if len(re.findall(pattern, text)) != 1:
                sys.exit(f"{weakening.name}: its text is not in {weakening.file} once any more")
            source.write_text(re.sub(pattern, lambda _, new=weakening.instead: new, text))
            passed, failed = run_loom(copy / CRATE)
        unnoticed += passed
        found = "**nothing**" if passed else ", ".join(f"`{name}`" for name in failed) or "an abort"
        print(f"| {weakening.name} | {found} |", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
