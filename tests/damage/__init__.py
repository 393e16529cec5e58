"""Real stores, really damaged, then repaired: `python -m damage --cases N --seed S`.

Each case takes a copy of a store that a coordinator has made, damages it as its seed says, repairs
it, and compares everything with what was there: nothing acknowledged is gone, or the report names
it; and never a wrong answer.
"""
