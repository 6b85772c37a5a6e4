"""Random input: `make fuzz`, for FUZZ_SECONDS a target.

`targets` says what is fuzzed and what must hold for any input; `mutator` is an engine of our own, `with_atheris` one
that is guided by libFuzzer, where its wheel is to be had; `sessions` plays whole SMTP sessions against a model.
`corpus` holds an input of each kind for each target, and every input that ever made one fail.
"""
