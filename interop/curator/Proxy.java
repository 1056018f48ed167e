import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** A TCP relay on loopback whose connections can be cut, to lose a connection and keep the session. */
final class Proxy implements AutoCloseable {
    private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    private final String host;
    private final int port;
    /** While set, new connections are closed at once. */
    private volatile boolean severed;

    Proxy(String target) throws IOException {
        int colon = target.lastIndexOf(':');
        host = target.substring(0, colon);
        port = Integer.parseInt(target.substring(colon + 1));
        daemon(this::accept);
    }

    String address() {
        return "127.0.0.1:" + listener.getLocalPort();
    }

    /** Closes every connection and refuses new ones until {@link #mend}. */
    void sever() {
        severed = true;
        for (Socket socket : open) quietly(socket);
    }

    void mend() {
        severed = false;
    }

    /** Closes every connection; the clients may come back at once. */
    void cut() {
        sever();
        mend();
    }

    @Override
    public void close() throws IOException {
        listener.close();
        sever();
    }

    private void accept() {
        while (!listener.isClosed()) {
            try {
                Socket client = listener.accept();
                if (severed) {
                    quietly(client);
                    continue;
                }
                Socket server = new Socket(host, port);
                client.setTcpNoDelay(true);
                server.setTcpNoDelay(true);
                open.add(client);
                open.add(server);
                daemon(() -> copy(client, server));
                daemon(() -> copy(server, client));
                if (severed) sever();
            } catch (IOException e) {
                // The listener was closed, or the server is away: the client will try again.
            }
        }
    }

    private void copy(Socket from, Socket to) {
        byte[] buffer = new byte[16 * 1024];
        try {
            int count;
            while ((count = from.getInputStream().read(buffer)) > 0) {
                to.getOutputStream().write(buffer, 0, count);
            }
        } catch (IOException e) {
            // One side went away: so does the other.
        } finally {
            quietly(from);
            quietly(to);
        }
    }

    private void quietly(Socket socket) {
        open.remove(socket);
        try {
            socket.close();
        } catch (IOException e) {
            // Nothing to save.
        }
    }

    private static void daemon(Runnable task) {
        Thread thread = new Thread(task, "proxy");
        thread.setDaemon(true);
        thread.start();
    }
}
