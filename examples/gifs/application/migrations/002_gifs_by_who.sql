CREATE INDEX gifs_by_who ON gifs (who)
