``blind: together`` and ``blind_to`` send mail to blind recipients in one request of Azure Communication Services, instead of one for each.
