"""How the manual is built: Markdown pages, one theme."""

project = "aibridge"
copyright = "the aibridge authors"
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "aibridge"
