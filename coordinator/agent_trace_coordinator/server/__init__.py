"""The shell around the core: sockets, the writer loop, the clock."""
