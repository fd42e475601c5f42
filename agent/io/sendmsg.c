/*
 * sendmsg(2) for libraries, in a process that may not call it.
 *
 * The message's address is where no filter of system calls can see it, so the
 * worker's refuses the call. libmicrohttpd sends head and body of an answer
 * with it, and has no other way when that fails. Without address and control
 * data writev(2) says the same: the program ignores SIGPIPE, and its sockets do
 * not block. The dynamic linker takes the program's symbol for the libraries'.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/privileged.h"

/* Its own interceptor is there already, and such a build has no filter. */
#ifndef __SANITIZE_ADDRESS__
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (!privileged())
		return syscall(SYS_sendmsg, fd, message, flags);
	if (message->msg_name || message->msg_controllen) {
		errno = EPERM;
		return -1;
	}
	return writev(fd, message->msg_iov, (int)message->msg_iovlen);
}
#endif
