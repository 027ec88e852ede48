``sandbox`` keeps mail from leaving: all recipients that it does not allow get theirs at one provider instead, bounces and delay notices included.
