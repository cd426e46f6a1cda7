"""How long `specrun --help` takes beside an empty Python: python tests/bench/help.py"""

from __future__ import annotations

from measure import PASS, SPECRUN, command, medians_s, show

if __name__ == "__main__":
    cases = {"python -c pass": command(PASS), "specrun --help": command([SPECRUN, "--help"])}
    medians = medians_s(cases, rounds=15)
    show("help", medians, "within 120 ms of `python -c pass`")
    print(f"  {(medians['specrun --help'] - medians['python -c pass']) * 1000:9.1f} ms  difference")
