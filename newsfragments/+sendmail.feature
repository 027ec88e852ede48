``smtprelay sendmail`` and ``smtprelay mailq`` for cron, PHP and other programs that know only ``/usr/sbin/sendmail``; a
link of that name to ``smtprelay`` does the same.
