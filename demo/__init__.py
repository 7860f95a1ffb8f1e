"""The three models together: `cloner` speaks in a voice, then what asks, plays and writes; speech is judged in `judging/`, and
`toolbox/` is a page in the browser."""
