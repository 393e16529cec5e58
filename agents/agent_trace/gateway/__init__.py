"""The MCP gateway: any agent host's way into a store. A client of the coordinator like any other.

Nothing outside of this package imports the MCP SDK, and only the command `agent-trace mcp` imports
this package: the SDK costs a second or more.
"""
