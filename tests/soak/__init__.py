"""All harnesses one after the other, for as long as one has."""
