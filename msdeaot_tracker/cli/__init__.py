"""The command line: `msdeaot <command>`, one module per command."""
