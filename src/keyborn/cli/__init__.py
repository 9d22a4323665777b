"""The command line: one small file per noun, each imported only when it is called."""
