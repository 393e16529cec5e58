"""The only code that touches the disk: journal, git, working tree, lock."""
