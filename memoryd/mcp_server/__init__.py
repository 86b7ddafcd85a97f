"""memoryd for models: an MCP server whose tools are the verbs, inside one scope that the model cannot leave."""
