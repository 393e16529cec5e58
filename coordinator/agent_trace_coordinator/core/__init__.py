"""The pure core: every rule of the store, and nothing that touches the world.

Same state and same input give the same effects. No input or output, no clock, no randomness, no
`await`, no logging: `now` is an argument, and what an operation needs to know about contents comes
as part of its input.
"""
