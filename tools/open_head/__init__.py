"""The parts of the build of the embedded face model; `python tools/build_open_head.py` runs them."""
