"""Other programs' way to the memory: MCP, `llm`, LangChain and LlamaIndex. Clients of `Mac`."""
