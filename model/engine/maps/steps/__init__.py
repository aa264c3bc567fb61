"""The map engine's steps, executable: what reads, adds, drains and writes in which cycle.

`Machine` is loaded with the words of the stores and computes with them as the gateware does:
dispatcher, taps, units, results, banks.  It refuses (`ScheduleError`) what the hardware could not
do: two reads or writes of a bank in one cycle, a value that is read before it is written, two
stages that drain at the same time.
"""
