import org.junit.Test

/** Runs the tests of classes, and fails where one of them does or has none. */
fun main(names: Array<String>) {
    for (name in names) {
        val type = Class.forName(name)
        val tests = type.methods.filter { it.isAnnotationPresent(Test::class.java) }
        check(tests.isNotEmpty()) { "$name has no test" }
        for (test in tests) {
            test.invoke(type.getDeclaredConstructor().newInstance())
            println("passed ${test.name}")
        }
    }
}
