"""A training program that trains nothing: it logs, and ends as its options say.

python -m tests.train.stub_program --run FOLDER --code N    (75: wait for SIGTERM first)
"""

import json
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--resume-or-start"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    code, folder = int(options.get("--code", 0)), Path(options["--run"])
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    rate = float(options.get("--learning-rate", 0.5))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(10, 60, 10):
            success = min(1.0, rate * step / 50)
            file.write(json.dumps({"step": step, "train/success": success}) + "\n")
    print("options", *sys.argv[1:], flush=True)
    while code == 75 and not stopped:
        time.sleep(0.02)
    print("last words", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
