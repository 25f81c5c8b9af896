"""The local cloud: AWS's API (moto, in one process) with real data planes made of docker containers behind it."""
