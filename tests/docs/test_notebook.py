"""examples/notebook.ipynb runs from its first cell to its last. It needs no Jupyter: its cells are plain Python."""

import ast
import json

from pages import ROOT

NOTEBOOK = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_runs_and_its_pictures_show(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space, pictures = {}, 0
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), cell["id"], "exec"), space)
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), cell["id"], "eval"), space)
            pictures += hasattr(shown, "_repr_svg_") and shown._repr_svg_().startswith("<svg")
    assert pictures == 3
    assert (tmp_path / "out.mp4").is_file()


def test_the_notebook_is_kept_without_what_it_printed():
    assert NOTEBOOK["nbformat"] == 4
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
