"""What each op costs beside its baselines: `python -m subkern bench`.

Cases live in a file named after their op; everything else here is the harness. Nothing is
imported by `import subkern`.
"""
