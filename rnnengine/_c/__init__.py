"""Bindings of the C core. They see arrays and integers only; graphs and files are not their business."""
