"""The systems that the pipeline talks to: one file a system."""
