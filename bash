Traceback (most recent call last):
  File "/tmp/bg.py", line 7, in <module>
    os.execvp(sys.argv[2],sys.argv[2:])
  File "<frozen os>", line 574, in execvp
  File "<frozen os>", line 597, in _execvpe
PermissionError: [Errno 13] Permission denied
