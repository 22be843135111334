import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Set;

/**
 * Places orders, each exactly once, whatever happens to the connection.
 *
 * Usage: java -cp postgresql.jar:. Retry TOKEN=AMOUNT...
 *
 * The connection is given by JDBC_URL, the time for one order in seconds by
 * PATIENCE. Prints one line for each order. The URL should have
 * connectTimeout and socketTimeout: without the latter the driver waits for a
 * silent server for ever.
 */
public class Retry {
    static final String URL = System.getenv("JDBC_URL");
    static final double PATIENCE = Double.parseDouble(
        System.getenv().getOrDefault("PATIENCE", "30"));

    record Order(String token, String amount) { }

    // --- the loop ---

    /** The server says no, and will say so again. */
    static class Refused extends Exception {
        Refused(String sqlstate) { super(sqlstate); }
    }

    /** It was not placed and never will be: settle() has seen to that. */
    static class NotPlaced extends Exception { }

    /** Nobody can say yet: ask again later, and tell the customer so. */
    static class StillUnknown extends Exception { }

    /** Classes of SQLSTATE after which the same may well succeed. */
    static final Set<String> TRANSIENT =
        Set.of("08", "25", "40", "53", "55", "57", "58");

    static final String OUTCOME =
        "SELECT outcome, key FROM order_guard.outcome(?)";
    static final String SETTLE =
        "SELECT outcome, key FROM settle_order(?)";

    record Answer(String outcome, String key) { }

    interface Work<T> {
        T on(Connection connection) throws SQLException;
    }

    /** One short transaction on a connection of its own, or of a pool. */
    static <T> T run(Work<T> work) throws SQLException {
        try (Connection connection = DriverManager.getConnection(URL)) {
            connection.setAutoCommit(false);
            try (var statement = connection.createStatement()) {
                statement.execute("SET LOCAL statement_timeout = '5s'");
            }
            T result = work.on(connection);
            connection.commit();
            return result;          // close() rolls back what has failed
        }
    }

    static String send(Order order) throws SQLException {
        return run(connection -> {
            try (PreparedStatement insert = connection.prepareStatement(
                     "INSERT INTO orders (token, amount)"
                     + " VALUES (?, ?::numeric) RETURNING id::text")) {
                insert.setString(1, order.token);
                insert.setString(2, order.amount);
                ResultSet row = insert.executeQuery();
                row.next();
                return row.getString(1);
            }
        });
    }

    static Answer ask(String question, String token) throws SQLException {
        return run(connection -> {
            try (PreparedStatement query =
                     connection.prepareStatement(question)) {
                query.setString(1, token);
                ResultSet row = query.executeQuery();
                row.next();
                return new Answer(row.getString(1), row.getString(2));
            }
        });
    }

    /** Has the server refused it for a reason that will not go away? */
    static boolean isFinal(SQLException error) {
        String state = error.getSQLState();
        return state != null && state.length() == 5
            && !TRANSIENT.contains(state.substring(0, 2));
    }

    /** Returns the key of the order, which then exists exactly once. */
    static String place(Order order)
            throws Refused, NotPlaced, StillUnknown, InterruptedException {
        long until = System.nanoTime() + (long) (PATIENCE * 1e9);
        long pause = 50;
        String outcome = "rolled_back";
        SQLException failure = null;
        while (System.nanoTime() < until) {
            try {
                // unknown: sent again, too; the token is unique in the table,
                // so the worst that can happen is that this one is refused
                if (outcome.equals("rolled_back")
                        || outcome.equals("unknown")) {
                    failure = null;
                    return send(order);
                }
            } catch (SQLException error) {  // no answer, or a bad one
                failure = error;
            }
            try {
                Answer answer = ask(OUTCOME, order.token);
                outcome = answer.outcome;
                if (outcome.equals("committed"))
                    return answer.key;
                if (outcome.equals("settled"))
                    throw new NotPlaced();
                if (failure != null && isFinal(failure)) {
                    if (outcome.equals("rolled_back"))
                        throw new Refused(failure.getSQLState());
                    if (outcome.equals("unknown"))
                        break;
                }
            } catch (SQLException error) {  // an error is not an answer
                outcome = "in_flight";
            }
            Thread.sleep(pause);            // in_flight, prepared: wait
            pause = Math.min(pause * 2, 1000);
        }
        return giveUp(order);
    }

    /** The customer has waited long enough: have it decided now. */
    static String giveUp(Order order) throws NotPlaced, StillUnknown {
        try {
            Answer answer = ask(SETTLE, order.token);
            if (answer.outcome.equals("committed"))
                return answer.key;
            if (answer.outcome.equals("settled"))
                throw new NotPlaced();
        } catch (SQLException error) {
            // no answer to this either
        }
        throw new StillUnknown();
    }

    // --- end of the loop ---

    public static void main(String[] arguments) throws Exception {
        for (String argument : arguments) {
            int at = argument.lastIndexOf('=');
            Order order = new Order(argument.substring(0, at),
                                    argument.substring(at + 1));
            String answer;
            try {
                answer = "placed " + place(order);
            } catch (Refused error) {
                answer = "refused " + error.getMessage();
            } catch (NotPlaced error) {
                answer = "not placed";
            } catch (StillUnknown error) {
                answer = "unknown";
            }
            System.out.println(order.token + " " + answer);
        }
    }
}
