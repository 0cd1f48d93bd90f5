"""The way through the house and its door: the stages in order, the flow that shows them in Prefect, progress, and the commands."""
