"""Run the notebooks of xpnet/docs in Jupyter, and store what they show in their files.

    pip install nbclient ipykernel
    python scripts/notebooks.py

Pictures are stored in 256 colours, in a third of the space. What changes from one run to the next stays out.
"""

import base64
import io
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "xpnet" / "docs"
# Only on a slow machine do these trainings take long enough to show it.
WITHOUT_PROGRESS = "from xpnet._training import progress_bar; progress_bar.wanted = lambda progress: False"


def main() -> None:
    import nbclient
    import nbformat

    for path in sorted(DOCS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        client = nbclient.NotebookClient(notebook, timeout=60, record_timing=False)
        with client.setup_kernel():
            client.kc.execute(WITHOUT_PROGRESS, silent=True)
            for number, cell in enumerate(notebook.cells):
                client.execute_cell(cell, number)
        notebook.metadata.language_info = {"name": "python"}
        for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
            if picture := output.get("data", {}).get("image/png"):
                output["data"]["image/png"] = in_few_colours(picture)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def in_few_colours(picture: Any) -> str:
    """A PNG file, in base64, with a palette."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    file = io.BytesIO()
    few = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main()
