"""Machine-made mutants of the built-in policies, tasks, plans and samplers: the public contracts catch at least four of five."""

import importlib.util
import multiprocessing
import os
from pathlib import Path

import pytest

LAWS = Path(__file__).parents[1] / "laws"
MUTANTS, SEED, EXAMPLES = 200, 0, 10


def loaded(name):
    """A test module that lies beside others of its kind, by its path."""
    spec = importlib.util.spec_from_file_location(f"laws_{name}", LAWS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judge(place):
    """The place, and what catches its mutant."""
    from mutation import judged

    return place, judged(place, loaded("conftest").PARAMETERS, loaded("test_what_plugins_state").STATED, EXAMPLES)


@pytest.mark.slow
def test_at_least_four_of_five_mutants_are_caught():
    pytest.importorskip("cosmic_ray")
    from mutation import NO_MUTANT, drawn

    caught, survivors = 0, []
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for place, found in pool.imap(judge, drawn(SEED)):  # leaving it stops the rest
            if found == NO_MUTANT:
                continue
            if found:
                caught += 1
            else:
                survivors.append(str(place))
            print(
                f"{caught} of {caught + len(survivors)}: {place} {found.partition(chr(10))[0] or 'SURVIVES'}",
                flush=True,
            )
            if caught + len(survivors) == MUTANTS:
                break
    assert caught >= 0.8 * MUTANTS, f"{len(survivors)} of {MUTANTS} survive:\n" + "\n".join(survivors)
