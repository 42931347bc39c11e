"""Programs that run in an interpreter of their own, which may have no rnnengine.

``child.py`` is started with a folder; it reads ``job.json`` there and hands it to the file named
after the framework. Nothing here imports the package.
"""
