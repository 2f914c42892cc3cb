"""Machine-made mutants of the built-in policies, tasks, plans and samplers: the public contracts catch at least four of five."""

import importlib.util
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


@pytest.mark.slow
def test_at_least_four_of_five_mutants_are_caught():
    pytest.importorskip("cosmic_ray")
    from mutation import NO_MUTANT, drawn, judged

    laws, stated = loaded("conftest"), loaded("test_what_plugins_state").STATED
    caught, survivors, places = 0, [], drawn(SEED)
    while caught + len(survivors) < MUTANTS:
        place = next(places)
        found = judged(place, laws.PARAMETERS, stated, EXAMPLES)
        if found == NO_MUTANT:
            continue
        if found:
            caught += 1
        else:
            survivors.append(str(place))
        print(
            f"{caught} of {caught + len(survivors)}: {place} {found.splitlines()[0] if found else 'SURVIVES'}",
            flush=True,
        )
    assert caught >= 0.8 * MUTANTS, f"{len(survivors)} of {MUTANTS} survive:\n" + "\n".join(survivors)
