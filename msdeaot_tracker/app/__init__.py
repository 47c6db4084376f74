"""The page of `msdeaot app`: click, look, track, correct.

What a user is at work on is in modules without gradio (`frames`, `marks`, `masks`, `session`, `sessions`, `downloads`,
`folders`); the page shows it (`page`, `actions`, `server`), and is the only part that imports gradio.
"""
