"""Mixed traffic for as long as one likes, and whether the gateway is afterwards as it was before.

``python -m benchmarks.soak --minutes 30``
"""
