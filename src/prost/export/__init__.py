"""What a library and its hits give to other programs: tables, clips, timelines, prototypes, and a player."""
