"""How the manual is built: Markdown pages, one theme, and the docstrings of the public names."""

project = "aibridge"
copyright = "the aibridge authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
# The prompt and the output of a command are not copied, nor is the prompt of a continued line.
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
html_theme = "furo"
html_title = "aibridge"
