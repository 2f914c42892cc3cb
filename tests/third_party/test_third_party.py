"""Distributions from outside the tree bring a third modality and a policy, and a model trains with them."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_a_third_modality_and_a_policy_come_by_entry_point_and_train(environment, tmp_path):
    script = [sys.executable, str(HERE / "use_heartbeat.py"), str(tmp_path)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == ["out.mp4", "out.pulse"]


def test_the_listing_names_their_distribution_and_imports_no_torch(environment):
    program = (
        "import sys; from mmseqdiff.cli import app\n"
        "try: app(['plugins', '--json'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    untyped = {key: value for key, value in environment.items() if not key.startswith("MMSEQDIFF_TYPECHECK")}
    done = subprocess.run([sys.executable, "-c", program], env=untyped, capture_output=True, text=True, check=True)
    listing = json.loads(done.stdout)
    assert listing["failures"] == {}
    found = {(entry["kind"], entry["name"]): (entry["distribution"], entry["version"]) for entry in listing["plugins"]}
    assert found["modality", "heartbeat"] == ("mmseqdiff-heartbeat", "0.1.0")
    assert found["policy", "alternating"] == ("mmseqdiff-alternating", "0.1.0")
    assert found["policy", "monl"][0] == "mmseqdiff-noise"
