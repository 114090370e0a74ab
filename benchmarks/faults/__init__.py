"""Put faults to runs, grids, shadow workers and reports, and count what becomes of them.

`make faults`. A trial gives a command with a fault in it, then the same command again, and compares
all files with those of an undisturbed run.

| outcome | means |
|---|---|
| survived | the same command ends, and every file is the undisturbed run's |
| lost | it does not end, or with an error that it cannot mend, or a file is missing |
| wrong | it ends with other content, or damaged content is taken for whole |
| foreign | as survived, but a traceback, or an end without a word, came on the way |
| orphan | as survived, but a process stayed |
| leftover | as survived, but a file stayed that an undisturbed run does not have |
"""
