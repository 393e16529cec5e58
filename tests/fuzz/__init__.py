"""Bytes of anybody at what reads them: each target lets through only what it promises to raise.

    PYTHONPATH=tests .venv/bin/python -m fuzz paths --seconds 60
    PYTHONPATH=tests .venv/bin/python -m fuzz all --seconds 300
    PYTHONPATH=tests .venv/bin/python -m fuzz paths --input crash-0123

With atheris (`pip install 'agent-trace[fuzz]'`) the inputs are led by the coverage of the product's
own code; without it they are mixtures and damages of good inputs, which find less. `targets` says
what is tried and what has to hold.
"""
