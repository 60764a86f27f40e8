"""Ground-truth photos: heads that no face model of this project can represent, photographed by a path tracer.

    python -m benchmarks.ground_truth FOLDER --ict FaceXModel

Nothing of the project's own renderers draws them: they are Mitsuba's mesh, `principled` BSDF, `envmap` and
`path` integrator. docs/benchmarks.md says what a case is made of.
"""
