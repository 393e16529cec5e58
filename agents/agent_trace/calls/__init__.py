"""The methods of `Agent`, by subject; `client.Agent` is all of them together."""
